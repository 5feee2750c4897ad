mod answers;
mod deadlines;
mod ranking;
mod states;
