"""Pydantic schemas of all settings: frozen, unknown keys refused. One file a sub-command, `network` shared by all."""
