mod answers;
mod deadlines;
mod states;
