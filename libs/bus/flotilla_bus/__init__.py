"""The bus of Flotilla: typed RPC, byte streams and events over NATS."""
