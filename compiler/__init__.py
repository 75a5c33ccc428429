"""The driver: importer, pipeline, instruments, artefacts, reports and the command line."""
