"""What may become of the patient, with what it rests on; abstaining, by name, outside the group it was made for."""
