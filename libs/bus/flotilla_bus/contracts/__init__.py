"""What the services ask of each other: one module per service that answers.

A method's name, request and answer are written here once; ``Bus.call`` and ``Service.handle``
take the same value, so that mypy checks both ends.
"""
