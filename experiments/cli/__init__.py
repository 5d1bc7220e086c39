"""The command line: words to configuration, output folder, hand-over to Hydra and to the tasks."""
