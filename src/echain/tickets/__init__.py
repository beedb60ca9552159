"""Tickets: purchase, transfer, refund, and the projections of sales and escrow."""
