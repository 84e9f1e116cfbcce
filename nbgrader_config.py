"""How nbgrader makes the students' versions: `make exercises` runs it with this file."""

c = get_config()  # noqa: F821 (nbgrader defines it)

# from notebooks/exercises to results/exercises; the database is a by-product
c.CourseDirectory.course_id = "clr"
c.CourseDirectory.source_directory = "notebooks"
c.CourseDirectory.release_directory = "results"
c.CourseDirectory.db_url = "sqlite:///results/gradebook.db"
c.CourseDirectory.ignore = ["nbgrader_config.py", "__pycache__", ".ipynb_checkpoints"]

# a student's version has to reach its check, which says what is missing
c.ClearSolutions.code_stub = {"python": "...  # write your answer here"}
