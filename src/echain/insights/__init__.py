"""What everyone may recount: totals of sales, fees and payouts against the contracts' balances."""
