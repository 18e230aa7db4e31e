#include "sim/core/server.hpp"

#include <cstdint>
#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

using Ids = std::vector<std::uint32_t>;
using Discipline = Server::Discipline;

TEST_CASE("units are granted while some are free, then in the order of the requests") {
  Server server(2);
  REQUIRE(server.request(Time{0}, 5));
  REQUIRE(server.request(Time{0}, 3));
  REQUIRE_FALSE(server.request(Time{1}, 9));
  REQUIRE_FALSE(server.request(Time{1}, 1));
  REQUIRE(server.busy() == 2);
  REQUIRE(server.waiting() == 2);
  REQUIRE(server.holds(5));
  REQUIRE(server.waits(9));
  REQUIRE(server.release(Time{10}, 3) == Ids{9});
  REQUIRE(server.holds(9));
  REQUIRE_FALSE(server.waits(9));
  REQUIRE_FALSE(server.holds(3));
  REQUIRE(server.release(Time{10}, 9) == Ids{1});
  REQUIRE(server.release(Time{12}, 1).empty());
  REQUIRE(server.release(Time{15}, 5).empty());
  REQUIRE(server.requested() == 4);
  REQUIRE(server.granted() == 4);
  REQUIRE(server.busy_over_time().integral(Time{20}) == 15 + 10 + 0 + 2);
  REQUIRE(server.waiting_over_time().integral(Time{20}) == 9 + 9);
  REQUIRE(server.waiting_over_time().maximum() == 2);
}

TEST_CASE("a small request never overtakes a large one that waits before it") {
  Server server(4);
  REQUIRE(server.request(Time{0}, 0, 2));
  REQUIRE(server.request(Time{0}, 1, 1));
  REQUIRE_FALSE(server.request(Time{1}, 2, 3));
  REQUIRE_FALSE(server.request(Time{1}, 3, 1));  // would fit
  REQUIRE(server.release(Time{2}, 1).empty());
  REQUIRE(server.release(Time{3}, 0) == Ids{2, 3});  // both at once, in order
  REQUIRE(server.busy() == 4);
}

TEST_CASE("the lowest priority number goes first, and takes units from nobody") {
  Server server(2, Discipline::priority);
  REQUIRE(server.request(Time{0}, 0, 2, 63));
  REQUIRE_FALSE(server.request(Time{1}, 1, 2, 5));
  REQUIRE_FALSE(server.request(Time{2}, 2, 1, 63));
  REQUIRE_FALSE(server.request(Time{3}, 3, 1, 5));
  REQUIRE_FALSE(server.request(Time{4}, 4, 1, 0));  // before all, yet who holds goes on
  REQUIRE(server.holds(0));
  REQUIRE(server.release(Time{5}, 0) == Ids{4});  // 1 needs both units and lets none pass
  REQUIRE_FALSE(server.request(Time{6}, 0, 1, 5));
  REQUIRE(server.request(Time{6}, 5, 1, 4));  // before 1, and it fits
  REQUIRE(server.release(Time{7}, 4).empty());
  REQUIRE(server.release(Time{8}, 5) == Ids{1});
  REQUIRE(server.release(Time{9}, 1) == Ids{3, 0});
  REQUIRE(server.release(Time{9}, 0) == Ids{2});
}

TEST_CASE("first come, first served does not look at priorities") {
  Server server(1, Discipline::first_come);
  REQUIRE(server.request(Time{0}, 0));
  REQUIRE_FALSE(server.request(Time{0}, 1, 1, 9));
  REQUIRE_FALSE(server.request(Time{0}, 2, 1, 0));
  REQUIRE(server.release(Time{1}, 0) == Ids{1});
}

TEST_CASE("a request that is cancelled lets those behind it go") {
  Server server(3);
  REQUIRE(server.request(Time{0}, 0, 1));
  REQUIRE_FALSE(server.request(Time{1}, 1, 3));
  REQUIRE_FALSE(server.request(Time{2}, 2, 1));
  REQUIRE_FALSE(server.request(Time{2}, 3, 2));
  REQUIRE_FALSE(server.request(Time{2}, 4, 1));
  REQUIRE(server.cancel(Time{3}, 3).empty());       // from the middle
  REQUIRE(server.cancel(Time{4}, 1) == Ids{2, 4});  // from the front
  REQUIRE_FALSE(server.request(Time{4}, 1, 1));
  REQUIRE_FALSE(server.request(Time{4}, 3, 1));
  REQUIRE(server.cancel(Time{5}, 3).empty());  // from the end
  REQUIRE_FALSE(server.request(Time{5}, 5, 1));
  REQUIRE(server.release(Time{6}, 0) == Ids{1});
  REQUIRE(server.release(Time{6}, 1) == Ids{5});
  REQUIRE(server.requested() == 8);
  REQUIRE(server.granted() == 5);
  REQUIRE(server.cancelled() == 3);
  REQUIRE(server.waiting() == 0);
}

TEST_CASE("a server refuses what cannot be, and stays as it was") {
  CHECK_THROWS_AS(Server(0), InvariantError);
  Server server(2);
  REQUIRE(server.request(Time{10}, 0, 2));
  REQUIRE_FALSE(server.request(Time{10}, 1));
  CHECK_THROWS_AS(server.request(Time{10}, 0), InvariantError);
  CHECK_THROWS_AS(server.request(Time{10}, 1), InvariantError);
  CHECK_THROWS_AS(server.request(Time{10}, 2, 0), InvariantError);
  CHECK_THROWS_AS(server.request(Time{10}, 2, 3), InvariantError);
  CHECK_THROWS_AS(server.request(Time{10}, 2, 1, 64), InvariantError);
  CHECK_THROWS_AS(server.request(Time{10}, Server::kMaximumIds), InvariantError);
  CHECK_THROWS_AS(server.request(Time{9}, 2), InvariantError);
  CHECK_THROWS_AS(server.release(Time{10}, 1), InvariantError);
  CHECK_THROWS_AS(server.release(Time{10}, 2), InvariantError);
  CHECK_THROWS_AS(server.release(Time{9}, 0), InvariantError);
  CHECK_THROWS_AS(server.cancel(Time{10}, 0), InvariantError);
  CHECK_THROWS_AS(server.cancel(Time{9}, 1), InvariantError);
  REQUIRE(server.requested() == 2);
  REQUIRE(server.release(Time{10}, 0) == Ids{1});
}

}  // namespace
}  // namespace moesim::core
