"""Does a result know the future? Poisoned futures, signals moved by one bar, shuffled signals, and what data gives away by itself."""
