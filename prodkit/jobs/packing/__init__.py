"""What goes into a job folder beside the notebook, so that the folder is enough: wheels, modules, texts."""
