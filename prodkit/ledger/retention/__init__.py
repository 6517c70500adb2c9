"""What the retention period has run out for leaves the journal and MLflow, with a signed note that says so."""
