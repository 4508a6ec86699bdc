"""Asking peers over HTTP: DICOMweb and FHIR. What is asked, and what an answer means, is for the rooms above."""
