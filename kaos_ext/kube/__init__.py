"""Any cluster: a thin async face over the official client, and the values that travel through it."""
