"""A project folder: reading it into a plan document, checking it, starting a new one."""

from heliograph.project.check import Report, check_project, plan_document, project_part
from heliograph.project.finding import Finding, ProjectError
from heliograph.project.scaffold import FolderNotEmpty, init_project

__all__ = [
    "Finding",
    "FolderNotEmpty",
    "ProjectError",
    "Report",
    "check_project",
    "init_project",
    "plan_document",
    "project_part",
]
