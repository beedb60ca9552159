"""Live updates: one feed of messages to many clients, over Socket.IO, WebSocket and server-sent events."""
