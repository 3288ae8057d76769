"""Runs the workflows of GitHub and the jobs of GitLab that this repository has, without either.

``github`` runs the steps of a job, or of a composite action, in order with real shells; ``expressions`` evaluates what
stands in ``${{ }}``; ``gitlab`` runs the ``script`` of a job; ``linters`` asks actionlint and the published schemas.
What is used here and not known to them is an error, never skipped.
"""
