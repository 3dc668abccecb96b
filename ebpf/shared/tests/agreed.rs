//! What both sides agree on, for any value.

use fairlead_ebpf_shared::{
    AddressClass, AddressWord, Be16, ClientAddresses, ConfigWord, FrontendKey, IPPROTO_TCP, IPPROTO_UDP, Options,
    OptionsWord, Reason, SetWord, frontend_tag, map, mapped, program, unmapped,
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_set_word_gives_back_its_parts_or_is_refused(base: u32, count: u32, tag: u32) {
        let fits = base < SetWord::BASE_LIMIT && count < SetWord::COUNT_LIMIT && tag < SetWord::TAG_LIMIT;
        match SetWord::new(base, count, tag) {
            Some(word) => {
                prop_assert!(fits);
                prop_assert_eq!((word.base(), word.count(), word.tag()), (base, count, tag));
            }
            None => prop_assert!(!fits),
        }
    }

    #[test]
    fn a_set_word_of_parts_that_fit_is_made(
        base in 0..SetWord::BASE_LIMIT,
        count in 0..SetWord::COUNT_LIMIT,
        tag in 0..SetWord::TAG_LIMIT,
    ) {
        let word = SetWord::new(base, count, tag).expect("all parts fit");
        prop_assert_eq!((word.base(), word.count(), word.tag()), (base, count, tag));
    }

    #[test]
    fn an_options_word_gives_back_its_parts_or_is_refused(affinity_s: u32, group: u32, flags: u8, tag: u32) {
        let options = Options { affinity_s, group, flags };
        let fits = affinity_s < OptionsWord::AFFINITY_LIMIT
            && group < OptionsWord::GROUP_LIMIT
            && flags < OptionsWord::FLAGS_LIMIT
            && tag < SetWord::TAG_LIMIT;
        match OptionsWord::new(options, tag) {
            Some(word) => {
                prop_assert!(fits);
                prop_assert_eq!((word.options(), word.tag()), (options, tag));
            }
            None => prop_assert!(!fits),
        }
    }

    #[test]
    fn an_options_word_of_parts_that_fit_is_made(
        affinity_s in 0..OptionsWord::AFFINITY_LIMIT,
        group in 0..OptionsWord::GROUP_LIMIT,
        flags in 0..OptionsWord::FLAGS_LIMIT,
        tag in 0..SetWord::TAG_LIMIT,
    ) {
        let options = Options { affinity_s, group, flags };
        let word = OptionsWord::new(options, tag).expect("all parts fit");
        prop_assert_eq!((word.options(), word.tag()), (options, tag));
        for flag in (0..5).map(|bit| 1 << bit) {
            prop_assert_eq!(word.has(flag), flags & flag != 0);
        }
    }

    #[test]
    fn an_address_word_is_of_its_address_and_no_other(addr: [u8; 16], byte in 0..16_usize, bit in 0..8_u8) {
        for class in [AddressClass::OwnNode, AddressClass::OtherNode, AddressClass::ClusterIp] {
            let word = AddressWord::new(&addr, class);
            prop_assert_eq!(word.class(&addr), Some(class));
            let mut other = addr;
            other[byte] ^= 1 << bit;
            prop_assert_eq!(word.class(&other), None);
            prop_assert_eq!(AddressWord(0).class(&addr), None);
        }
    }

    #[test]
    fn the_addresses_of_a_namespace_are_its_own_and_whole(netns: u64, v4: [u8; 16], v6: [u8; 16], byte in 0..16_usize) {
        let value = ClientAddresses::new(netns, v4, v6);
        prop_assert!(value.is_of(netns));
        prop_assert!(!value.is_of(netns ^ 1));
        let mut torn = value;
        torn.v6[byte] ^= 1;
        prop_assert!(!torn.is_of(netns));
    }

    #[test]
    fn a_tag_is_never_that_of_a_free_slot_and_differs_with_the_slot_and_the_port(
        addr: [u8; 16],
        port in 1..=u16::MAX,
        slot in 0..u32::MAX,
    ) {
        let key = FrontendKey { addr, port: Be16::new(port), protocol: IPPROTO_TCP, scope: 0 };
        let tag = frontend_tag(&key, slot);
        prop_assert!(tag > 0 && tag < SetWord::TAG_LIMIT);
        let neighbours = [
            frontend_tag(&key, slot + 1),
            frontend_tag(&FrontendKey { port: Be16::new(port - 1), ..key }, slot),
            frontend_tag(&FrontendKey { protocol: IPPROTO_UDP, ..key }, slot),
        ];
        // Twenty bits: one may agree by chance (one in a million), all three do not.
        prop_assert!(neighbours.iter().any(|other| *other != tag));
    }

    #[test]
    fn an_ipv4_address_survives_being_mapped(v4: [u8; 4]) {
        prop_assert_eq!(unmapped(mapped(v4)), Some(v4));
        prop_assert_eq!(std::net::Ipv6Addr::from(mapped(v4)), std::net::Ipv4Addr::from(v4).to_ipv6_mapped());
    }

    #[test]
    fn an_address_is_unmapped_exactly_when_the_standard_library_says_so(addr: [u8; 16]) {
        prop_assert_eq!(unmapped(addr), std::net::Ipv6Addr::from(addr).to_ipv4_mapped().map(|v4| v4.octets()));
    }

    #[test]
    fn a_port_is_the_same_number_in_both_orders(port: u16) {
        prop_assert_eq!(Be16::new(port).get(), port);
        prop_assert_eq!(Be16::new(port).to_network(), port.to_be());
        prop_assert_eq!(Be16::from_network(port.to_be()), Be16::new(port));
    }
}

#[test]
fn reasons_stand_in_the_order_of_their_numbers() {
    for (index, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index, "{}", reason.name());
    }
}

#[test]
fn the_words_of_config_stand_in_the_order_of_their_numbers() {
    for (index, word) in ConfigWord::ALL.into_iter().enumerate() {
        assert_eq!(word as usize, index);
    }
}

#[test]
fn the_kernel_keeps_every_name_whole_and_bpffs_takes_it() {
    for name in map::ALL.into_iter().chain(program::ALL) {
        assert!(
            name.len() <= 15 && name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_'),
            "{name}"
        );
    }
}
