"""What nbgrader needs to know, in `make exercises` and when an instructor calls it here."""

c = get_config()  # noqa: F821 (nbgrader defines it)

# from notebooks/exercises to results/exercises; what is handed in comes beside it
c.CourseDirectory.course_id = "clr"
c.CourseDirectory.source_directory = "notebooks"
c.CourseDirectory.release_directory = "results"
c.CourseDirectory.db_url = "sqlite:///results/gradebook.db"
c.CourseDirectory.submitted_directory = "results/submitted"
c.CourseDirectory.autograded_directory = "results/autograded"
c.CourseDirectory.feedback_directory = "results/feedback"

# Seconds per cell: in some PyTorch is imported or a network trained, on any computer.
c.Execute.timeout = 300

# a student's version has to reach its check, which says what is missing
c.ClearSolutions.code_stub = {"python": "...  # write your answer here"}
