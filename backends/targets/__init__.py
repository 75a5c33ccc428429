"""Targets: machine descriptions in TOML, and the dataclasses they are read into (`machine`)."""
