"""The notebooks: their parameters, their headless execution, and their web pages."""
