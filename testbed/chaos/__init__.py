"""What befalls a real site while it serves: one fault at a time, and whether anything is lost by it."""
