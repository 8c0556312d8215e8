"""Is an artifact equal to its model: what is compared, how far it may differ, and what that would catch."""
