"""The demo exchange: the simulated market as a process of its own that speaks the Binance spot protocol on loopback."""
