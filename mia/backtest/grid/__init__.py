"""Many configurations of one rule on one history: the space they come from, their evaluation, and the search that counts each one."""
