"""Offline: files of history in, features and checks of them out. Live code never comes here; data frames are allowed."""
