"""The folder `sorting` is as version 0.1.0 exported it; its own checks are run by `tests/jobs/folder`."""

collect_ignore_glob = ["sorting/*"]
