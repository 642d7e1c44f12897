"""Sensors: waits that hold no worker slot."""
