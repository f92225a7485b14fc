"""Files that users and this library write."""
