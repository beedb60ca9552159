"""People: sign-in with Ethereum, sessions."""
