"""What a run leaves besides its verdicts: packets of each test, opinions about them, and a page that shows both."""
