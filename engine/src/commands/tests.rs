use super::*;
use crate::{session::Token, testing::Wakes};

fn withdraw(token: Token) -> Vec<Command> {
    vec![Command::Withdraw { token }]
}

fn tokens(commands: Vec<Command>) -> Vec<Token> {
    let tokens = commands.into_iter().map(|command| match command {
        Command::Withdraw { token } => token,
        _ => panic!("another command"),
    });
    tokens.collect()
}

fn poll(receiver: &mut Receiver, wakes: &Wakes) -> Poll<Option<Vec<Token>>> {
    let polled = receiver.poll_recv(&mut Context::from_waker(&wakes.waker()));
    polled.map(|commands| commands.map(tokens))
}

#[test]
fn what_was_sent_comes_together_and_in_order() {
    let (sender, mut receiver) = queue();
    sender.send(withdraw(1));
    sender.send(withdraw(2));
    let wakes = Wakes::default();
    assert_eq!(poll(&mut receiver, &wakes), Poll::Ready(Some(vec![1, 2])));
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
}

#[test]
fn a_task_that_waits_is_woken_when_the_sender_says_so() {
    let (sender, mut receiver) = queue();
    let wakes = Wakes::default();
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
    sender.send(withdraw(1));
    assert_eq!(wakes.take(), 0);
    sender.wake();
    assert_eq!(wakes.take(), 1);
}

#[test]
fn a_task_that_does_not_wait_is_not_woken() {
    let (sender, mut receiver) = queue();
    let wakes = Wakes::default();
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
    sender.wake();
    sender.wake();
    assert_eq!(wakes.take(), 1);
}

#[test]
fn a_host_that_goes_wakes_the_task_which_gets_what_is_left_first() {
    let (sender, mut receiver) = queue();
    let wakes = Wakes::default();
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
    sender.send(withdraw(1));
    drop(sender);
    assert_eq!(wakes.take(), 1);
    assert_eq!(poll(&mut receiver, &wakes), Poll::Ready(Some(vec![1])));
    assert_eq!(poll(&mut receiver, &wakes), Poll::Ready(None));
}

#[test]
fn a_task_that_has_closed_is_not_held_by_its_host() {
    let (sender, mut receiver) = queue();
    let wakes = Wakes::default();
    assert_eq!(poll(&mut receiver, &wakes), Poll::Pending);
    receiver.close();
    sender.wake();
    assert_eq!(wakes.take(), 0);
}

#[test]
fn a_task_that_has_closed_gets_what_is_there_and_nothing_after_that() {
    let (sender, mut receiver) = queue();
    sender.send(withdraw(1));
    assert_eq!(tokens(receiver.close()), [1]);
    sender.send(withdraw(2));
    assert_eq!(tokens(receiver.close()), []);
}
