"""What is drawn: cuts, projections, text on pictures."""
