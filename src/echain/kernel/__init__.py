"""Pure words that every room uses: errors, addresses, money, ids, time, pages, messages."""
