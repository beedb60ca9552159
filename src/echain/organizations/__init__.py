"""Who works together on events: organizations, their wallets, members and invitations."""
