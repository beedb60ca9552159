"""The chain: RPC, ABI, following blocks, ingest, sending transactions."""
