"""Models, data and servers that tests share."""
