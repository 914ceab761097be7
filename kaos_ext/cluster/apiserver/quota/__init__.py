"""Resource quotas: what objects count for, what a namespace may have, and the status that says so."""
