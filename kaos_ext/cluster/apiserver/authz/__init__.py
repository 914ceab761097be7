"""Authorization: what a user may do. Pure rules at the core, RBAC objects of one storage around them."""
