"""A web page on the warehouse's reporting views."""
