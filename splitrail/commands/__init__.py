"""One module for each `splitrail` command; a module is imported only when its command is called."""
