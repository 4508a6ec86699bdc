"""From instances to a study that can be analysed: complete or not, which series, in scope or not, whose, live or not. Pure."""
