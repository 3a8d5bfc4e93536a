"""What was seen: captures, an independent LISP decoder, tables."""
