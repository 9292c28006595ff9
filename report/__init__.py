"""A run as one HTML file: `page.write_report`; what it says of the run as a whole (`overview`), in numbers that plots show, too."""
