"""Artist, genre and lyrics of a song as the numbers of a label row."""
