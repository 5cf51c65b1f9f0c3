"""The report of a sweep: one page that opens offline."""
