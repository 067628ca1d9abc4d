"""The local control socket: its messages, the server in `miad`, the client in `mia`."""
