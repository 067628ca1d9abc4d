"""The record on disk: journal, snapshots, the SQLite projection, exports and the state directory."""
