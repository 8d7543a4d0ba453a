//! What a session learns of the process at its other end, and tells of its own.

use std::time::Instant;

use super::*;

#[test]
fn a_peer_is_known_by_the_instance_that_its_hello_names() {
    let now = Instant::now();
    let west = instance(7);
    let named = wire::Hello {
        instance: west.id().0.to_vec(),
        incarnation_us: west.incarnation().0,
        replica: west.replica().to_owned(),
        ..hello_message()
    };
    for (hello, expected) in [(named, Some(west)), (hello_message(), None)] {
        let mut session = session(None, now);
        control(&mut session, Body::Hello(hello), now);
        control(&mut session, welcome(false), now);

        let up = Output::Up {
            resumed: false,
            instance: expected,
        };
        assert!(drain(&mut session).contains(&up));
    }
}

#[test]
fn a_hello_tells_which_process_speaks() {
    let Some(Output::Send(_, Body::Hello(hello))) = session(None, Instant::now()).poll_output()
    else {
        panic!("a session begins with HELLO");
    };

    assert_eq!(hello.instance, [1; 16]);
    assert_eq!(hello.incarnation_us, 1);
    assert_eq!(hello.replica, "replica-1");
}

#[test]
fn an_instance_of_another_length_or_without_a_name_is_out_of_range() {
    let now = Instant::now();
    for (instance, replica) in [(vec![1; 15], "a"), (vec![1; 17], "a"), (vec![1; 16], "")] {
        let mut session = session(None, now);
        let hello = wire::Hello {
            instance,
            replica: replica.to_owned(),
            ..hello_message()
        };
        control(&mut session, Body::Hello(hello), now);
        assert_violation(&mut session, Violation::BadHello);
    }
}
