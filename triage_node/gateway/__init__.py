"""What others ask of the node or tell it: UPS over DIMSE and HTTP, HL7 v2 over MLLP."""
