//! Which request is sent where, and what answers it.

use prost::Message;

/// A request that is answered by one message.
pub trait Call: Message + Clone + Default + 'static {
    /// The answer.
    type Response: Message + Default + 'static;
    /// Service and method: the path of the HTTP request.
    const PATH: &'static str;
    /// The method, for people.
    const NAME: &'static str;

    /// Whether it may change something: then a lost answer leaves open if it has.
    fn writes(&self) -> bool {
        false
    }
}

/// States a request's answer, its service and method, and which of the requests write.
macro_rules! call {
    ($request:ty, $response:ty, $service:literal, $method:literal) => {
        crate::wire::call::call!($request, $response, $service, $method, |_| false);
    };
    ($request:ty, $response:ty, $service:literal, $method:literal, $writes:expr) => {
        impl crate::wire::call::Call for $request {
            type Response = $response;
            const PATH: &'static str = concat!("/etcdserverpb.", $service, "/", $method);
            const NAME: &'static str = $method;

            fn writes(&self) -> bool {
                let writes: fn(&Self) -> bool = $writes;
                writes(self)
            }
        }
    };
}
pub(crate) use call;
